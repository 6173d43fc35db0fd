"""A page that says hello, as in every Docker tutorial."""

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello() -> str:
    return "Hello from a container that Wherry built and runs!\n"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000)  # noqa: S104 - the container's own addresses
