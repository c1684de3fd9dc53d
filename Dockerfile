# Image with lisa_jax, its configs and its launchers; TARGET is an extra of setup.cfg that brings jax for the hardware:
#
#   docker build --build-arg TARGET=cuda13 -t lisa_jax .     also cuda12, tpu, and cpu, the default
#   docker run --gpus=all -v "$PWD/runs:/lisa_jax/runs" lisa_jax train --config=configs/openmoji_lineart.py --workdir=runs/a
#
# The image that launch/gke.sh asks for is this one, built with TARGET=tpu and pushed to a registry of yours.
FROM python:3.12-slim

ARG TARGET=cpu
WORKDIR /lisa_jax
COPY . .
# Versions that the tests have passed with.
RUN extras=openmoji \
    && if [ "$TARGET" != cpu ]; then extras="$extras,$TARGET"; fi \
    && pip install --no-cache-dir --constraint constraints.txt --editable ".[$extras]" \
    && useradd --create-home lisa \
    && mkdir -p runs \
    && chown lisa runs
USER lisa
ENTRYPOINT ["lisa_jax"]
CMD ["--help"]
