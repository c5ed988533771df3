const express = require("express");

const app = express();
const port = Number(process.env.PORT ?? 3000);

app.get("/", (_request, response) => response.type("text").send("node-express says hello\n"));
app.get("/health", (_request, response) => response.type("text").send("ok"));

const server = app.listen(port, "0.0.0.0", () => console.log(`listening on ${port}`));
process.on("SIGTERM", () => server.close());
