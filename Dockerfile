# Builds Herder as one static binary and ships it with nothing else.
#
#   docker build -t herder .
#
# Any builder will do, BuildKit or the classic one. Where no registry can be reached, `scripts/image` builds the
# same last stage from a binary built outside.

FROM rust:1.95.0-bookworm AS build
ARG HERDER_COMMIT=unknown
WORKDIR /src
COPY . .
RUN cp "$(HERDER_COMMIT="$HERDER_COMMIT" sh scripts/build)" /herder \
    && mkdir -p /empty/tmp && chmod 1777 /empty/tmp

FROM scratch
COPY --from=build /herder /herder
# A /tmp for everybody, as whom Herder may run: bodies go there that are kept whole and are too long for memory
# (docs/resilience.md). What is mounted there takes its mode.
COPY --from=build /empty /
# Herder sees its own container too: without the last one it would route its admin side to everybody.
LABEL org.opencontainers.image.title="Herder" \
      org.opencontainers.image.description="An active load balancer for Docker and Rancher" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      traefik.enable="false"
# What a burst of long heads took goes back to the system: glibc would keep pieces of that size (bench/RESULTS.md).
ENV GLIBC_TUNABLES=glibc.malloc.mmap_threshold=65536
# Reading the Docker socket takes its group too (docs/docker-socket.md): --group-add "$(stat -c %g /var/run/docker.sock)"
USER 10001:10001
EXPOSE 8080 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 CMD ["/herder", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/herder"]
