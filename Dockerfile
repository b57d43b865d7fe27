# The programs in a container, for the CPU:
#   docker build -t dhih .
#   docker run -p 7878:7878 --user "$(id -u)" -v "$(realpath runs/latest):/run/dhih" -e DHIH_READ_KEY=... -e DHIH_ADMIN_KEY=... dhih
# A key has at least 16 characters. The user, 10001 unless --user names one, must be able to write to the index in the run; with
# `-e DHIH_READ_ONLY=true` it reads it. For GPUs: Dockerfile.cuda.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package dhih-serve --package dhih-index --package dhih-train

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 dhih
COPY --from=build /src/target/release/dhih-serve /src/target/release/dhih-index /src/target/release/dhih-train /usr/local/bin/
COPY LICENSE-MIT LICENSE-APACHE /usr/local/share/doc/dhih/
USER 10001
ENV DHIH_RUN=/run/dhih DHIH_BIND=0.0.0.0:7878 DHIH_LOG_FORMAT=json
EXPOSE 7878
STOPSIGNAL SIGTERM
ENTRYPOINT ["dhih-serve"]
