# Server and worker of Cofferdam. The sandbox's own image is built from src/sandbox/image.
FROM node:24-bookworm-slim

# git: mirrors and quarantine; util-linux brings prlimit, which bounds it. Nothing here starts a daemon.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git util-linux \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/cofferdam
COPY package.json package-lock.json .npmrc ./
RUN npm install --no-save --omit=dev --omit=optional --ignore-scripts && npm cache clean --force
COPY LICENSE app.yml ./
COPY src ./src

ENV NODE_ENV=production HOST=0.0.0.0
EXPOSE 3000
# Node runs the TypeScript sources as they are. The process is PID 1 and handles SIGTERM itself.
ENTRYPOINT ["node", "src/main/cofferdam.ts"]
CMD ["start"]
