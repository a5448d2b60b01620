# syntax=docker/dockerfile:1
# The image for amd64 and arm64: docker buildx build --platform linux/amd64,linux/arm64 .
# Alpine's Rust links musl statically by itself. `make release` makes the same image without a container engine.
FROM docker.io/library/rust:1.95.0-alpine AS build
RUN apk add --no-cache bash binutils ca-certificates git musl-dev python3
WORKDIR /build
COPY . .
RUN git config --global --add safe.directory /build && scripts/static-build /out \
    && scripts/notices "$(uname -m)-unknown-linux-musl" >/out/THIRD-PARTY

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/THIRD-PARTY /licenses/THIRD-PARTY
COPY --from=build /out/quality-officer /quality-officer
USER 65532:65532
ENTRYPOINT ["/quality-officer"]
CMD ["run"]
