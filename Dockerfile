# The app in a container, by the same steps as `make run`: scripts/get_ready.py, then Streamlit.
#   docker build -t audio-flamingo .                          (CPU)
#   docker build -t audio-flamingo --build-arg KIND=cuda .    (for an NVIDIA GPU: run it with --gpus all)
FROM python:3.13-slim-trixie

ARG KIND=cpu

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# libgomp1: torch and faiss; ffmpeg: one of the two recorders. Without versions: Debian drops the old ones of a release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 app \
    && install -d -o app -g app /app /data

USER 1000
WORKDIR /app

# What is installed changes seldom, so it has a layer of its own.
COPY --chown=app:app requirements.txt requirements.lock ./
COPY --chown=app:app scripts/get_ready.py scripts/
RUN PIP_NO_CACHE_DIR=1 AFCORE_KIND=${KIND} python scripts/get_ready.py packages

COPY --chown=app:app . .
ENV AFCORE_DATA=/data PYTHONUNBUFFERED=1 AFCORE_LOG=json
RUN AFCORE_KIND=${KIND} python scripts/get_ready.py app

VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD [".venv/bin/python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD [".venv/bin/python", "-m", "streamlit", "run", "app.py", "--server.port", "8501", "--server.headless", "true", \
     "--server.showEmailPrompt", "false", "--browser.gatherUsageStats", "false"]
