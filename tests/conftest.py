"""What every test relies on."""

import signal

# A shell lets its background jobs ignore Ctrl-C, and their children with them: tests that send it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
