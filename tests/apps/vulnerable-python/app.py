import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def root():
    return "vulnerable-python says hello\n"


@app.get("/health")
def health():
    return "ok"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "5000")))
