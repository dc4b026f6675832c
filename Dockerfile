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

FROM node:24.21.0-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json package-lock.json ./
# Without the development tools, and without the PostgreSQL binaries that are for machines that have no server.
RUN npm ci --omit=dev --omit=optional --ignore-scripts && npm cache clean --force
COPY drizzle ./drizzle
COPY --from=build /app/dist ./dist

USER node
EXPOSE 8000
ENTRYPOINT ["node", "dist/cli/main.js"]
CMD ["--help"]
