const http = require("node:http");
const { upperFirst } = require("lodash");

const port = Number(process.env.PORT ?? 3000);
const server = http.createServer((request, response) => {
  response.setHeader("Content-Type", "text/plain");
  response.end(request.url === "/health" ? "ok" : `vulnerable-node: ${upperFirst("hello")}\n`);
});
server.listen(port, "0.0.0.0");
process.on("SIGTERM", () => server.close());
