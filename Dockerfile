# Two images: `--target serving` (no TensorFlow) and `--target training`. The classic builder and BuildKit both build it.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
# BENTOML_CONTAINERIZED stays unset on purpose: it would turn off the restart of dead workers.
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    BENTOML_DO_NOT_TRACK=True \
    BENTOML_HOME=/var/lib/catseye/bentoml \
    CATSEYE_HOME=/var/lib/catseye/state \
    HOME=/tmp
RUN groupadd --gid 10001 catseye \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin catseye \
 && install -d -o 10001 -g 10001 /var/lib/catseye /data
WORKDIR /opt/catseye
COPY pyproject.toml requirements.lock ./
# One extra's requirements as pip lines, so that the layer below changes only when they do.
RUN python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
[open(f'{extra}.txt', 'w').write('\n'.join(p['dependencies'] + p['optional-dependencies'][extra])) for extra in ('serve', 'train')]"

FROM base AS serving
RUN pip install --quiet -c requirements.lock -r serve.txt
COPY README.md LICENSE catseye.py ./
COPY models models
COPY training training
COPY service service
RUN pip install --quiet --no-deps -c requirements.lock . && rm -rf build ./*.egg-info
USER 10001:10001
VOLUME /var/lib/catseye
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
ENTRYPOINT ["catseye"]
CMD ["serve", "--host", "0.0.0.0", "--port", "3000"]

FROM base AS training
RUN pip install --quiet -c requirements.lock -r serve.txt -r train.txt
COPY README.md LICENSE catseye.py ./
COPY models models
COPY training training
COPY service service
RUN pip install --quiet --no-deps -c requirements.lock . && rm -rf build ./*.egg-info
ENV TF_CPP_MIN_LOG_LEVEL=3
USER 10001:10001
VOLUME /var/lib/catseye
ENTRYPOINT ["catseye"]
CMD ["--help"]
