# Server and worker of Cofferdam. The sandbox's own image is another one, built from src/sandbox/image.
#
# Where package archives are reached through a mirror or a company's certificate, `.build/` beside this file may hold ca.pem,
# apt.conf and npmrc (paths inside: /tmp/build). Only the first two stages see them; nothing of them is in the result.
FROM node:24-bookworm-slim AS system
# By this label the set-up finds what is left of earlier builds.
LABEL cofferdam.stage=product
COPY LICENSE .buil[d]/* /tmp/build/
# git: mirrors and quarantine; util-linux: flock, setpriv, and prlimit, which bounds git. Nothing here starts a daemon.
RUN set -eu; \
    if [ -s /tmp/build/apt.conf ]; then cp /tmp/build/apt.conf /etc/apt/apt.conf.d/95build; fi; \
    apt-get -q update; \
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install ca-certificates git util-linux; \
    apt-get clean; \
    rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/debconf/* /tmp/build /etc/apt/apt.conf.d/95build

FROM system AS build
COPY LICENSE .buil[d]/* /tmp/build/
WORKDIR /opt/cofferdam
COPY package.json package-lock.json .npmrc ./
RUN set -eu; \
    if [ -s /tmp/build/npmrc ]; then cp /tmp/build/npmrc "$HOME/.npmrc"; fi; \
    if [ -s /tmp/build/ca.pem ]; then export NODE_EXTRA_CA_CERTS=/tmp/build/ca.pem; fi; \
    npm install --no-save --omit=dev --omit=optional --ignore-scripts --no-update-notifier; \
    koffi="$(node -p "'@koromix/koffi-linux-' + process.arch + '@' + require('./node_modules/koffi/package.json').version")"; \
    npm install --no-save --omit=dev --omit=optional --ignore-scripts --no-update-notifier "$koffi"; \
    rm node_modules/.package-lock.json
# The parts of the toolbox that come from package archives: only these sources and lock files decide on them.
COPY src/domain/errors.ts ./src/domain/
COPY src/sandbox/layout.ts ./src/sandbox/
COPY src/sandbox/portal/exit.ts ./src/sandbox/portal/
COPY src/sandbox/toolbox ./src/sandbox/toolbox
COPY src/local/machine ./src/local/machine
ARG AGENTS="opencode codex"
RUN set -eu; \
    if [ -s /tmp/build/apt.conf ]; then cp /tmp/build/apt.conf /etc/apt/apt.conf.d/95build; fi; \
    if [ -s /tmp/build/ca.pem ]; then export NODE_EXTRA_CA_CERTS=/tmp/build/ca.pem; fi; \
    apt-get -q update; \
    node src/local/machine/toolbox-parts.ts /opt/cofferdam/toolbox ${AGENTS}; \
    find toolbox -name .package-lock.json -delete

FROM scratch
COPY --from=system / /
COPY --from=build /opt/cofferdam/node_modules /opt/cofferdam/node_modules
COPY --from=build /opt/cofferdam/toolbox /opt/cofferdam/toolbox
WORKDIR /opt/cofferdam
COPY package.json LICENSE app.yml ./
COPY src ./src
# COFFERDAM_DOCKER: the Docker of DOCKER_HOST is used as it is; nothing is installed or started in a container.
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 NODE_ENV=production HOST=0.0.0.0 \
    COFFERDAM_DOCKER=existing COFFERDAM_TOOLBOX_PARTS=/opt/cofferdam/toolbox
EXPOSE 3000
# Node runs the TypeScript sources as they are. The process is PID 1 and handles SIGTERM itself.
ENTRYPOINT ["node", "src/main/cofferdam.ts"]
CMD ["start"]
