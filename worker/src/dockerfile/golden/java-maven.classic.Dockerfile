FROM maven:3.9-eclipse-temurin-17 AS build
WORKDIR /src
ARG API_URL
COPY pom.xml ./
RUN mvn -B -q dependency:go-offline || echo 'the dependencies are fetched with the source'
COPY . .
RUN mvn -B -DskipTests package
RUN mkdir -p /out/target && find target -maxdepth 1 -type f \( -name '*.jar' -o -name '*.war' \) \
    ! -name '*-plain.jar' ! -name '*-sources.jar' ! -name '*-javadoc.jar' ! -name '*-tests.jar' ! -name 'original-*' \
    -exec cp {} /out/target/ \;

FROM eclipse-temurin:17-jre
WORKDIR /app
ENV PORT=8080 HOME=/tmp
COPY --from=build --chown=10001:10001 /out/ ./
USER 10001:10001
EXPOSE 8080
CMD ["sh","-c","exec java -XX:MaxRAMPercentage=75.0 -Dserver.port=\"${PORT}\" -jar target/shop-1.0.jar"]
