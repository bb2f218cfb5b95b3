# docker build -t tuspy-server . && docker run -p 8080:8080 -v uploads:/data --read-only --cap-drop ALL tuspy-server
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY tuspy_server tuspy_server
RUN python -m venv /opt/tuspy-server \
    && /opt/tuspy-server/bin/pip install --no-cache-dir '.[server,hooks,prometheus,s3,gcs,azure,redis,postgres]'

FROM python:3.13-slim
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin tus \
    && install --directory --owner=tus --group=tus /data
COPY --from=build /opt/tuspy-server /opt/tuspy-server
ENV PATH=/opt/tuspy-server/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TUSPY_SERVER_UPLOAD_DIR=/data
USER tus
VOLUME /data
EXPOSE 8080
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=5)"]
ENTRYPOINT ["tuspy-server"]
