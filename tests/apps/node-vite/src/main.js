document.title = `${document.title} is up`;
