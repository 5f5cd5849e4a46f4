# TA-Cleaner Lab for the CPU. Build and start: docker compose up --build
FROM python:3.11-slim AS build
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# pip takes the build for the CPU, "+cpu", as the newer one; that of PyPI brings 3 GB of libraries for NVIDIA GPUs.
RUN --mount=type=bind,source=requirements.txt,target=/tmp/requirements.txt \
    pip install --no-cache-dir --no-compile --extra-index-url "$TORCH_INDEX" -r /tmp/requirements.txt
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-compile --no-deps /wheels/*.whl \
    && useradd --uid 1000 --create-home lab \
    && install --directory --owner lab /data
USER 1000
WORKDIR /data
ENV CLEANER_RUNS=/data/runs CLEANER_CACHE=/data/cache NUMBA_CACHE_DIR=/data/cache/numba MPLCONFIGDIR=/data/cache/matplotlib
VOLUME /data
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=5)"]
# Starts with CLEANER_PASSWORD or CLEANER_PUBLIC=1 only: the port may be reachable from other machines.
ENTRYPOINT ["ta-cleaner", "app", "--headless", "--port", "8501", "--address", "0.0.0.0"]
CMD ["--allow-host", "localhost"]
