# docker build -t sidebeat:0.1.0 --build-arg REVISION=$(git rev-parse --short HEAD) .
ARG RUST=1.95

FROM rust:${RUST}-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build
# The dependencies first: they change less often than the code.
COPY Cargo.toml Cargo.lock ./
# jemalloc is built for the pages of this machine; kernels for arm64 have them of up to 64 KiB.
RUN [ "$(uname -m)" != aarch64 ] || printf '[env]\nJEMALLOC_SYS_WITH_LG_PAGE = "16"\n' >> /usr/local/cargo/config.toml
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --locked --release && rm -r src target/release/deps/*sidebeat* target/release/.fingerprint/sidebeat-*
COPY src src
# The label of sidebeat_build_info.
ARG REVISION=unknown
RUN SIDEBEAT_REVISION=${REVISION} cargo build --locked --release && strip --strip-debug target/release/sidebeat

# All that the image will hold: the program, the libraries that it is linked to, the roots for hooks and upstreams over TLS.
RUN install -D target/release/sidebeat /image/usr/local/bin/sidebeat \
    && ldd target/release/sidebeat | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory=/image \
    && cp --parents --dereference --target-directory=/image /etc/ssl/certs/ca-certificates.crt \
    && echo 'sidebeat:x:65532:65532::/:' > /image/etc/passwd \
    && echo 'hosts: files dns' > /image/etc/nsswitch.conf

FROM scratch
LABEL org.opencontainers.image.title="sidebeat" \
      org.opencontainers.image.description="A liveness proxy for WebSocket and TCP streams" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
COPY --from=build /image /
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/sidebeat/
# By number: Kubernetes' runAsNonRoot cannot judge names.
USER 65532:65532
EXPOSE 9601
STOPSIGNAL SIGTERM
# Kubernetes has probes of its own and ignores this.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/local/bin/sidebeat", "healthcheck", "--telemetry", "127.0.0.1:9601"]
ENTRYPOINT ["/usr/local/bin/sidebeat"]
CMD ["run", "-c", "/etc/sidebeat/sidebeat.yaml"]
