// Two small services, without dependencies: ROLE=orders takes orders and asks the stock, ROLE=stock knows what there is.
// Both speak HTTP/1.1 and, for gRPC, HTTP/2 without TLS.
//
// They are not traced themselves. All they do for the traces is what every service must: what comes with a request as
// traceparent and tracestate goes on with each request that is made for it. The Envoys do the rest.
const http = require("node:http");
const http2 = require("node:http2");

// The Envoy beside this service; it knows the stock by its name.
const OUTBOUND = "http://127.0.0.1:15001";

const context = ({ traceparent, tracestate }) => ({
  ...(traceparent && { traceparent }),
  ...(tracestate && { tracestate }),
});

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What a service answers, by its path: a status and a text. */
const paths = {
  orders: async (path, headers) => {
    if (path.startsWith("/orders/")) {
      const { status, text } = await get(path.replace("/orders/", "/stock/"), headers);
      return status === 200 ? [200, `ordered: ${text}`] : [status === 404 ? 404 : 502, text];
    }
    if (path === "/count") {
      const count = await count_by_grpc(headers);
      return [200, `there are ${count} things\n`];
    }
    return [404, "there is no such page\n"];
  },
  stock: async (path) => {
    const thing = path.replace("/stock/", "").split("?")[0];
    switch (thing) {
      case "apple":
        return [200, "an apple\n"];
      case "pear":
        await sleep(300);
        return [200, "a pear, from the far end of the store\n"];
      case "plum":
        return [503, "the plums have fallen over\n"];
      default:
        return [404, `there is no ${thing}\n`];
    }
  },
};

/** Asks the stock over HTTP. */
function get(path, headers) {
  return new Promise((resolve, reject) => {
    const options = { headers: { host: "stock", ...context(headers) } };
    const request = http.get(`${OUTBOUND}${path}`, options, async (reply) => {
      let text = "";
      for await (const part of reply) text += part;
      resolve({ status: reply.statusCode, text });
    });
    request.on("error", reject);
  });
}

/** Asks the stock over gRPC: an empty message out, one byte back. */
function count_by_grpc(headers) {
  return new Promise((resolve, reject) => {
    const session = http2.connect(OUTBOUND);
    session.on("error", reject);
    const stream = session.request({
      ":method": "POST",
      ":path": "/shop.Stock/Count",
      ":authority": "stock",
      "content-type": "application/grpc",
      te: "trailers",
      ...context(headers),
    });
    const parts = [];
    stream.on("data", (part) => parts.push(part));
    stream.on("error", reject);
    stream.on("end", () => {
      session.close();
      resolve(Buffer.concat(parts)[5]);
    });
    stream.end(Buffer.alloc(5));
  });
}

// HTTP/1.1, which most requests are.
const server = http.createServer(async (request, response) => {
  const [status, text] = request.url === "/health"
    ? [200, "healthy\n"]
    : await paths[process.env.ROLE](request.url, request.headers).catch((error) => [500, `${error.message}\n`]);
  response.writeHead(status, { "content-type": "text/plain" }).end(text);
});
server.listen(8080);

// gRPC: the message that the stock answers has one byte, the count.
const grpc = http2.createServer();
grpc.on("stream", (stream, headers) => {
  stream.resume();
  const known = headers[":path"] === "/shop.Stock/Count";
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": known ? "0" : "12" }));
  stream.end(known ? Buffer.from([0, 0, 0, 0, 1, 42]) : undefined);
});
grpc.listen(8081);

// `docker compose down` need not wait.
process.on("SIGTERM", () => process.exit(0));
