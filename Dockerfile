# Puts packages into a stock TensorFlow Serving: those below a directory, or the logarithm, built from source.
#   docker build --tag gradwire --build-arg PACKAGES=models .    every package below models (see .dockerignore)
#   docker build --tag gradwire .                    for a GPU (the last stage)
#   docker build --tag gradwire-cpu --target cpu .   for a CPU
#   docker run --rm --gpus all --publish 127.0.0.1:8500:8500 gradwire
# To raise TensorFlow Serving: --build-arg TF_SERVING_VERSION=2.21.0, once that release is there. It has to be able to
# read what the TensorFlow of requirements.txt writes.
# A package that XLA compiled needs, on a CPU, --xla_cpu_compilation_enabled=true behind the image's name.
ARG TF_SERVING_VERSION=2.20.0
ARG PACKAGES
ARG SOURCE=${PACKAGES:+own}

FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.txt ./
RUN pip install --no-cache-dir --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY training training
COPY export export
COPY serving serving
COPY client client
RUN pip install --no-cache-dir --no-build-isolation --no-deps .
RUN gradwire train log --loss sobolev --samples 19 --seed 0 --to build/log \
    && gradwire export build/log --to models/log

FROM scratch AS logarithm
COPY --from=build /src/models /models
COPY serving/models.config /config/

FROM python:3.11-slim AS own
ARG PACKAGES
COPY ${PACKAGES} /models
RUN mkdir /config \
    && { echo 'model_config_list {'; \
         for model in /models/*/; do \
             name="$(basename "$model")"; \
             echo "  config { name: \"$name\" base_path: \"/models/$name\" model_platform: \"tensorflow\" }"; \
         done; \
         echo '}'; } > /config/models.config

# The one of the two that PACKAGES chooses; the other is not built.
FROM ${SOURCE:-logarithm} AS packages

FROM tensorflow/serving:${TF_SERVING_VERSION} AS cpu
COPY --from=packages /models /models
COPY --from=packages /config /config
COPY serving/monitoring.config /config/
# A user without rights: nobody.
USER 65534:65534
EXPOSE 8500 8501
# The port opens only once every model is available, so an open port means ready. The image has bash, and no gRPC probe.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8500"]
# grpc_max_threads: the default, four a CPU, refuses the eighth call at once on two cores. No batching on a CPU: it only
# makes callers wait.
ENTRYPOINT ["tensorflow_model_server", \
    "--port=8500", \
    "--model_config_file=/config/models.config", \
    "--grpc_max_threads=64", \
    "--monitoring_config_file=/config/monitoring.config", \
    "--rest_api_port=8501"]

FROM tensorflow/serving:${TF_SERVING_VERSION}-gpu AS gpu
COPY --from=packages /models /models
COPY --from=packages /config /config
COPY serving/monitoring.config serving/batching.config /config/
# Memory growth: TensorFlow takes the GPU's memory as models need it, instead of all of it at the start.
ENV TF_FORCE_GPU_ALLOW_GROWTH=true
USER 65534:65534
EXPOSE 8500 8501
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8500"]
# per_process_gpu_memory_fraction: the most that growth may reach. Set it to this server's share where several share a
# GPU; a tenth stays free for the driver's own needs.
ENTRYPOINT ["tensorflow_model_server", \
    "--port=8500", \
    "--model_config_file=/config/models.config", \
    "--grpc_max_threads=64", \
    "--enable_batching=true", \
    "--batching_parameters_file=/config/batching.config", \
    "--monitoring_config_file=/config/monitoring.config", \
    "--rest_api_port=8501", \
    "--per_process_gpu_memory_fraction=0.9"]
