use super::languages::check;

#[test]
fn compiled() {
    check(&[
        (
            &[
                (
                    "go.mod",
                    "module example.com/shop\n\ngo 1.22.3\n\nrequire github.com/gin-gonic/gin v1.9.1\n",
                ),
                ("go.sum", ""),
                ("main.go", "package main\n\nfunc main() {\n\tr.Run(\":9090\")\n}\n"),
            ],
            "go 1.22 gin go-modules+lock | . | 9090 | ./shop | - | -",
        ),
        (
            &[
                (
                    "go.mod",
                    "module example.com/shop/v2\ngo 1.21\ntoolchain go1.24.1\nrequire (\n\tgithub.com/labstack/echo/v4 v4.11\n)\n",
                ),
                ("cmd/api/main.go", "package main\nfunc main() { e.Start(\":1324\") }\n"),
                ("cmd/migrate/main.go", "package main\nfunc main() {\n}\n"),
            ],
            "go 1.24 echo go-modules | ./cmd/api | 1324 | ./api | - | -",
        ),
        (
            &[
                ("go.mod", "module m\nrequire github.com/gofiber/fiber/v2 v2.5\n"),
                ("main.go", "package main\nfunc main() {}\n"),
            ],
            "go - fiber go-modules | . | 3000 | ./m | - | -",
        ),
        (
            &[
                ("go.mod", "module m\nrequire github.com/go-chi/chi/v5 v5.0\n"),
                ("main.go", "package main\nfunc main() {}\n"),
            ],
            "go - chi go-modules | . | 8080 | ./m | - | -",
        ),
        (
            &[
                ("go.mod", "module m\ngo 1.23\n"),
                (
                    "main.go",
                    "package main\nimport \"net/http\"\nfunc main() { http.ListenAndServe(\":80\", nil) }\n",
                ),
            ],
            "go 1.23 net/http go-modules | . | 80 | ./m | - | -",
        ),
        (
            &[
                ("Cargo.toml", "[package]\nname='shop'\nrust-version='1.70'\n[dependencies]\naxum='0.8'\n"),
                ("Cargo.lock", ""),
                ("src/main.rs", "TcpListener::bind(\"0.0.0.0:3001\");"),
            ],
            "rust 1.95 axum cargo+lock | shop | 3001 | ./shop | - | -",
        ),
        (
            &[
                ("Cargo.toml", "[workspace]\nmembers=['crates/*']\n"),
                ("crates/core/Cargo.toml", "[package]\nname='core'\n"),
                ("crates/core/src/lib.rs", ""),
                ("crates/tool/Cargo.toml", "[package]\nname='tool'\n"),
                ("crates/tool/src/main.rs", ""),
                (
                    "crates/web/Cargo.toml",
                    "[package]\nname='web'\n[[bin]]\nname='shop-web'\npath='src/main.rs'\n[dependencies]\nactix-web={version='4'}\n",
                ),
                ("crates/web/src/main.rs", ".bind((\"127.0.0.1\", 8082))"),
                ("rust-toolchain.toml", "[toolchain]\nchannel='1.90.0'\n"),
            ],
            "rust 1.90 actix cargo | shop-web | 8082 | ./shop-web | - | -",
        ),
        (
            &[
                ("Cargo.toml", "[package]\nname='r'\n[dependencies]\nrocket='0.5'\n"),
                ("src/main.rs", ""),
                ("Rocket.toml", "[default]\nport = 8001\n"),
                ("rust-toolchain", "stable\n"),
            ],
            "rust - rocket cargo | r | 8001 | ./r | - | -",
        ),
        (
            &[
                (
                    "pom.xml",
                    "<project><artifactId>shop</artifactId><version>1.0</version><properties><java.version>17</java.version></properties><build><plugins><plugin><groupId>org.springframework.boot</groupId><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build></project>",
                ),
                ("mvnw", ""),
                (".mvn/wrapper/maven-wrapper.properties", ""),
                ("src/main/resources/application.properties", "server.port=8085\n"),
            ],
            "java 17 spring-boot maven | target/shop-1.0.jar | 8085 | java -jar target/shop-1.0.jar | ./mvnw -B -DskipTests package | -",
        ),
        (
            &[
                (
                    "pom.xml",
                    "<project><packaging>pom</packaging><modules><module>core</module><module>web</module></modules><properties><maven.compiler.source>1.8</maven.compiler.source></properties></project>",
                ),
                ("core/pom.xml", "<project><artifactId>core</artifactId></project>"),
                (
                    "web/pom.xml",
                    "<project><parent><version>2</version></parent><artifactId>web</artifactId><build><plugins><plugin><groupId>io.quarkus.platform</groupId><artifactId>quarkus-maven-plugin</artifactId></plugin></plugins></build></project>",
                ),
                ("web/src/main/resources/application.yml", "quarkus:\n  http:\n    port: ${PORT:8086}\n"),
            ],
            "java 8 quarkus maven | web/target/quarkus-app/quarkus-run.jar | 8086 | java -jar web/target/quarkus-app/quarkus-run.jar | mvn -B -DskipTests -pl web -am package | -",
        ),
        (
            &[
                (
                    "build.gradle.kts",
                    "plugins { id(\"org.springframework.boot\") version \"3.3\" }\nversion = \"0.1\"\njava { toolchain { languageVersion = JavaLanguageVersion.of(21) } }\n",
                ),
                ("settings.gradle.kts", "rootProject.name = \"shop\"\n"),
                ("gradlew", ""),
                ("gradle/wrapper/gradle-wrapper.properties", ""),
            ],
            "java 21 spring-boot gradle | build/libs/shop-0.1.jar | 8080 | java -jar build/libs/shop-0.1.jar | ./gradlew --no-daemon bootJar | -",
        ),
        (
            &[("build.gradle", "plugins { id 'io.quarkus' }\nsourceCompatibility = '17'\n")],
            "java 17 quarkus gradle | build/quarkus-app/quarkus-run.jar | 8080 | java -jar build/quarkus-app/quarkus-run.jar | gradle --no-daemon quarkusBuild | -",
        ),
        (
            &[(
                "Shop.csproj",
                "\u{feff}<Project Sdk=\"Microsoft.NET.Sdk.Web\">\r\n<PropertyGroup><TargetFramework>net8.0</TargetFramework></PropertyGroup></Project>",
            )],
            "dotnet 8.0 aspnetcore nuget | Shop.csproj | 8080 | dotnet Shop.dll | dotnet publish Shop.csproj -c Release | -",
        ),
        (
            &[
                ("Shop.sln", ""),
                (
                    "src/Api/Api.csproj",
                    "<Project Sdk=\"Microsoft.NET.Sdk.Web\"><PropertyGroup><AssemblyName>Shop.Api</AssemblyName></PropertyGroup></Project>",
                ),
                ("src/Api/Program.cs", "app.Run(\"http://0.0.0.0:5005\");"),
                ("src/Core/Core.csproj", "<Project Sdk=\"Microsoft.NET.Sdk\"></Project>"),
                (
                    "Directory.Build.props",
                    "<Project><PropertyGroup><TargetFrameworks>net8.0;net10.0;netstandard2.0</TargetFrameworks></PropertyGroup></Project>",
                ),
            ],
            "dotnet 10.0 aspnetcore nuget | src/Api/Api.csproj | 5005 | dotnet Shop.Api.dll | dotnet publish src/Api/Api.csproj -c Release | -",
        ),
    ]);
}
