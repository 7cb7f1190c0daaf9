// The questions that the page puts to Python.

export class Failure extends Error {
  // kind: the class of the error in Python, or "Ended" where `gradwire explore` itself does not answer.
  constructor(kind, message, status) {
    super(message);
    this.kind = kind;
    this.status = status;
  }
  get isGone() {
    return this.kind === "Ended" || this.status === 503;
  }
}

async function ask(path, fields, options) {
  let response;
  try {
    response = await fetch(`${path}?${new URLSearchParams(fields)}`, options);
  } catch {
    throw new Failure("Ended", "gradwire explore has ended, and with it this page: start it again, and the page goes on", 0);
  }
  const answer = await response.json();
  if (!response.ok) throw new Failure(answer.error, answer.message, response.status);
  return answer;
}

export const get = (path, fields) => ask(path, fields, {});
export const post = (path, fields, body) =>
  ask(path, fields, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
