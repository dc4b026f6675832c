# One image for every part: the command says which one it is. TypeScript runs as it is; there is no build step.
FROM node:24.21.0-bookworm-slim

ENV NODE_ENV=production
WORKDIR /app

# Without the development tools, and without the PostgreSQL binaries that are for machines that have no server.
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts && npm cache clean --force

COPY tsconfig.json graphile.config.ts ./
COPY drizzle ./drizzle
COPY src ./src

USER node
EXPOSE 8000
ENTRYPOINT ["node", "src/cli/main.ts"]
CMD ["--help"]
