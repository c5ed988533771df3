FROM gradle:8-jdk21 AS build
WORKDIR /src
ARG API_URL
ENV GRADLE_USER_HOME=/gradle
COPY build.gradle* settings.gradle* gradle.properties* ./
RUN --mount=type=cache,id=deploymind-shop-gradle,target=/gradle,sharing=locked gradle --no-daemon --quiet dependencies > /dev/null || echo 'the dependencies are fetched with the source'
COPY . .
RUN --mount=type=cache,id=deploymind-shop-gradle,target=/gradle,sharing=locked gradle --no-daemon quarkusBuild
RUN mkdir -p /out/build/quarkus-app && cp -R build/quarkus-app/. /out/build/quarkus-app/

FROM eclipse-temurin:21-jre
WORKDIR /app
ENV PORT=8080 HOME=/tmp
COPY --from=build --chown=10001:10001 /out/ ./
USER 10001:10001
EXPOSE 8080
CMD ["sh","-c","exec java -XX:MaxRAMPercentage=75.0 -Dquarkus.http.host=0.0.0.0 -Dquarkus.http.port=\"${PORT}\" -jar build/quarkus-app/quarkus-run.jar"]
