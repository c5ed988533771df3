import http.server, os, socket, sys, time

mode, port = os.environ["MODE"], int(os.environ["PORT"])
print("mode", mode, flush=True)
if mode == "exit":
    print("the reason", file=sys.stderr, flush=True)
    sys.exit(3)
if mode == "memory":
    kept = []
    while True:
        kept.append(b"x" * (1 << 20))
if mode == "talk":
    for n in range(300):
        print("line", n, flush=True)
    print("oops", file=sys.stderr, flush=True)
if mode == "other":
    port += 1
if mode == "garbage":
    with socket.create_server(("", port)) as server:
        while True:
            client, _ = server.accept()
            client.recv(1000)
            client.sendall(b"\x00\x01 not http at all\r\n\r\n" * 10)
            client.close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if mode == "slow":
            time.sleep(3)
        if self.path == "/remember":
            with open("/data/seen", "a") as file:
                file.write("x")
        status = {"redirect": 301, "broken": 500}.get(mode, 200)
        if self.path == "/missing":
            status = 404
        if self.path == "/stop":
            os._exit(4)
        self.send_response(status)
        self.send_header("Location", "/login")
        self.end_headers()
        self.wfile.write(mode.encode())

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET


Server(("127.0.0.1" if mode == "loopback" else "0.0.0.0", port), Handler).serve_forever()
