# Two images: `--target serving` (no TensorFlow) and `--target training`. The classic builder and BuildKit both build it.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
# BENTOML_CONTAINERIZED stays unset on purpose: it would turn off the restart of dead workers.
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    BENTOML_DO_NOT_TRACK=True \
    BENTOML_HOME=/var/lib/catseye/bentoml \
    CATSEYE_HOME=/var/lib/catseye/state \
    HOME=/tmp
RUN groupadd --gid 10001 catseye \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin catseye \
 && install -d -o 10001 -g 10001 /var/lib/catseye /data
# A container with a read-only root would compile modules anew at every start: pip compiles what it installs, and this
# what the public base image has without bytecode. A file that is no code for this version does not matter.
RUN python3 -m compileall -q -j 0 -x 'site-packages|dist-packages' \
  "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" || true
WORKDIR /opt/catseye

# Nothing that was changed at its source gets in: each file has a hash in a lock, and no package is built by code of its own.
FROM base AS project
COPY deploy/build.lock ./
RUN pip install --quiet --no-compile --require-hashes --only-binary :all: -r build.lock
COPY pyproject.toml README.md LICENSE catseye.py ./
COPY models models
COPY training training
COPY service service
RUN pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir /wheels .

FROM base AS serving-packages
COPY deploy/serving.lock ./
RUN pip install --quiet --require-hashes --only-binary :all: -r serving.lock

FROM serving-packages AS serving
COPY --from=project /wheels wheels
RUN pip install --quiet --no-index --no-deps wheels/*.whl
USER 10001:10001
VOLUME /var/lib/catseye
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
ENTRYPOINT ["catseye"]
CMD ["serve", "--host", "0.0.0.0", "--port", "3000"]

# What serving needs is part of what training needs, in the same versions, so it is fetched, stored and sent once.
FROM serving-packages AS training
COPY deploy/training.lock ./
RUN pip install --quiet --require-hashes --only-binary :all: -r training.lock
COPY --from=project /wheels wheels
RUN pip install --quiet --no-index --no-deps wheels/*.whl
ENV TF_CPP_MIN_LOG_LEVEL=3
USER 10001:10001
VOLUME /var/lib/catseye
ENTRYPOINT ["catseye"]
CMD ["--help"]
