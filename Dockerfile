# One image for every part: the command says which one it is.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# With optional packages: the compiler of this platform is one.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY tools ./tools
RUN npm run build

FROM node:24.21.0-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json ./
# Without the development tools, and without the PostgreSQL binaries that are for machines that have no server. Nothing runs the types and
# maps of packages, nor the parts of them that are for others.
RUN npm ci --omit=dev --omit=optional --ignore-scripts \
  && find node_modules \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' -o -name '*.md' \) -delete

# Node's program alone: npm, yarn and the headers of its own image are 40 MB that nothing here runs.
FROM debian:bookworm-slim
COPY --from=build /usr/local/bin/node /usr/local/bin/node
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json ./
COPY drizzle ./drizzle
COPY --from=build /app/dist ./dist
# A number: Kubernetes has to see that it is not root. It writes nothing, so the root file system may be read-only.
USER 1000:1000
EXPOSE 8000
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["--help"]
