var app = WebApplication.CreateBuilder(args).Build();

app.MapGet("/", () => "dotnet-minimal says hello\n");
app.MapGet("/health", () => "ok");

var port = Environment.GetEnvironmentVariable("PORT") ?? "8080";
app.Run($"http://0.0.0.0:{port}");
