# Two stages: the first compiles, the second runs. For docker, podman and buildah:
#
#   docker build -t guardproxy .
#   docker run --rm --network host --read-only --cap-drop all --security-opt no-new-privileges guardproxy
#
# The proxy listens on loopback until a configuration with client keys says otherwise, hence the host's network above;
# deploy/README.md has the forms for a cluster. Nothing is written but the audit, to /var/lib/guardproxy where that is
# a writable volume and to standard output where it is not.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates g++ python3 python3-venv \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements requirements
COPY deploy/build deploy/build
# What takes minutes comes first, so that a change of the source does not repeat it.
RUN python3 -m venv /opt/guardproxy \
 && /opt/guardproxy/bin/pip install --no-cache-dir --no-deps "$(deploy/build/llama-wheel /opt/guardproxy/bin/python portable)"
RUN /opt/guardproxy/bin/pip install --no-cache-dir --require-hashes --requirement requirements/runtime.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY guardproxy guardproxy
COPY policies policies
# pip and setuptools are for building, and of use to an intruder only.
RUN /opt/guardproxy/bin/pip install --no-cache-dir --no-deps . \
 && /opt/guardproxy/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libgomp1 libstdc++6 python3 \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /etc/guardproxy /var/lib/guardproxy \
 && chown 65532:65532 /var/lib/guardproxy
COPY --from=build /opt/guardproxy /opt/guardproxy
ENV PATH=/opt/guardproxy/bin:/usr/bin:/bin \
    HOME=/nonexistent \
    XDG_STATE_HOME=/var/lib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 9901
ENTRYPOINT ["guardproxy"]
CMD ["serve"]
