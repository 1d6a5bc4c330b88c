// The tiny application on Node. See tiny.py for what it does.
const http = require("http");
const { appendFileSync } = require("fs");

const FAKE = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nsmuggled answer\n";

const server = http.createServer((request, response) => {
  let said = "";
  for (let i = 0; i < request.rawHeaders.length; i += 2) said += `${request.rawHeaders[i].toLowerCase()}:${request.rawHeaders[i + 1]}|`;
  const line = `${request.method} ${request.url} ${said}\n`;
  appendFileSync(process.env.SEEN, line, "latin1");
  const path = request.url.split("?")[0];
  const say = (status, length, text) => {
    response.writeHead(status, length === undefined ? {} : { "Content-Length": length });
    response.end(text);
  };
  if (path === "/read" || path === "/echo") {
    let body = "";
    request.setEncoding("latin1");
    request.on("data", (piece) => (body += piece));
    request.on("end", () => {
      const text = path === "/echo" ? line + body : line;
      say(200, Buffer.byteLength(text, "latin1"), Buffer.from(text, "latin1"));
    });
  } else if (path === "/fake") say(200, FAKE.length, FAKE);
  else if (path === "/204") say(204, undefined, FAKE);
  else if (path === "/304") say(304, FAKE.length, FAKE);
  else if (path === "/short") say(200, 2, "ok" + FAKE);
  else if (path === "/long") say(200, 1000, line);
  else say(200, line.length, line);
});
server.listen(Number(process.env.PORT), "127.0.0.1");
