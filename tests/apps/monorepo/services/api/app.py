import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def root():
    return "monorepo-api says hello\n", {"Content-Type": "text/plain"}


@app.get("/health")
def health():
    return "ok", {"Content-Type": "text/plain"}


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "5000")))
