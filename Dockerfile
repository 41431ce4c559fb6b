# captiond in a container.  Build and try it; no GPU, network or settings are needed:
#
#   docker build -t captiond .
#   docker run --rm --network none captiond demo
#
# PyTorch comes with CUDA 12.6, which drivers from 2024 on run, for cards from Maxwell to Hopper.  For newer cards
# (Blackwell: RTX 50, B200) take .../whl/cu130; for machines without an NVIDIA card, a much smaller image:
#
#   docker build -t captiond --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#
# and for those whose model is on a server, one without PyTorch:
#
#   docker build -t captiond --target remote .
#
# BuildKit is needed: Docker 23 and later have it by default, 20.10 with DOCKER_BUILDKIT=1.
# docker-compose.yml shows how to run it for good.

FROM python:3.12-slim AS base
# The builder before BuildKit knows no mounts: it stops here, and says that BuildKit is needed, before anything is fetched.
RUN --mount=type=tmpfs,target=/run/needs-buildkit true
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# What the program depends on, as pyproject.toml says it, so that no version stands in two places.
FROM base AS requirements
WORKDIR /src
COPY pyproject.toml config/requirements_of.py ./
RUN python requirements_of.py pyproject.toml > requirements.txt

FROM base AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY config/captiond.yaml config/
COPY systemd systemd
COPY daemon daemon
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

# What both images are, but for our own code and the packages that it needs.
FROM base AS place
# It puts captions into HEIC and AVIF (docs/metadata.md).
RUN apt-get update && apt-get install -y --no-install-recommends libimage-exiftool-perl && rm -rf /var/lib/apt/lists/*
COPY config/docker.yaml /etc/captiond/captiond.yaml
COPY config/docker-entrypoint.sh /usr/local/bin/captiond-container

# A new volume takes owner and mode from these folders.  The cache is anybody's, since it is also run as the
# user whose pictures they are (--user), whom the image does not know.
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /cache captiond \
    && install -d -o captiond -g captiond /data /data/inbox /data/done /data/failed /data/state \
    && install -d -m 1777 /cache /cache/huggingface
# Everything that is written lies in /data, /cache or /tmp, so that the rest may be read-only.
# USER is set because PyTorch asks for the user's name, and /etc/passwd does not have every user's.
ENV HOME=/cache \
    HF_HOME=/cache/huggingface \
    HF_HUB_DISABLE_TELEMETRY=1 \
    USER=captiond \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME ["/data", "/cache"]
WORKDIR /data

# Started as this user it has no privilege at all; `--user 0 --cap-add LEASE` with PUID and PGID leaves it the one of
# asking the kernel who writes a file (docs/container.md).

# The first SIGTERM lets it finish what is in work.  The entrypoint obeys PUID and PGID where it is started as
# root, and then becomes captiond, so that no shell stands between it and its signals.
STOPSIGNAL SIGTERM
# The first start downloads the model, which takes its time; paused is unhealthy too, and ends by itself.
HEALTHCHECK --interval=30s --timeout=15s --start-period=30m CMD ["captiond", "health"]
ENTRYPOINT ["captiond-container"]
CMD ["run"]

# For those whose model is on a server (Ollama, vLLM, llama.cpp): without torch, a tenth of the size.
FROM place AS remote
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements-remote.lock,target=/tmp/requirements.lock \
    pip install --require-hashes -r /tmp/requirements.lock
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir --no-deps /wheel/*.whl
USER 1000:1000

# The last is what `docker build` makes if nobody says which.
FROM place AS local
# The dependencies first: gigabytes that stay as they are while only our own code changes.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu126
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,from=requirements,source=/src/requirements.txt,target=/tmp/requirements.txt \
    --mount=type=bind,source=constraints.txt,target=/tmp/constraints.txt \
    pip install --extra-index-url "$TORCH_INDEX" -c /tmp/constraints.txt -r /tmp/requirements.txt
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-cache-dir --no-deps /wheel/*.whl
USER 1000:1000
