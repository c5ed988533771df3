FROM mcr.microsoft.com/dotnet/sdk:8.0 AS build
WORKDIR /src
ARG API_URL
COPY *.sln* *.*proj* *.props* *.targets* global.json* [Nn]u[Gg]et.[Cc]onfig* ./
COPY src/Api/Api.csproj src/Api/Api.csproj
RUN --mount=type=cache,id=deploymind-shop-nuget,target=/root/.nuget/packages,sharing=locked dotnet restore src/Api/Api.csproj || echo 'the packages are restored with the source'
COPY . .
RUN --mount=type=cache,id=deploymind-shop-nuget,target=/root/.nuget/packages,sharing=locked dotnet publish src/Api/Api.csproj --configuration Release --output /out -p:UseAppHost=false

FROM mcr.microsoft.com/dotnet/aspnet:8.0
WORKDIR /app
ENV PORT=8080 HOME=/tmp DOTNET_NOLOGO=1
COPY --from=build --chown=10001:10001 /out/ ./
USER 10001:10001
EXPOSE 8080
CMD ["sh","-c","ASPNETCORE_URLS=\"http://0.0.0.0:${PORT}\" exec dotnet Api.dll"]
