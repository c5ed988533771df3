setInterval(() => console.log("still here"), 60_000);
