// A few customers: two orders a second, of every kind that the shop knows.
const paths = ["/orders/apple", "/orders/pear?coupon=SPRING", "/orders/plum", "/orders/unicorn", "/count", "/nowhere"];

// `docker compose down` need not wait.
process.on("SIGTERM", () => process.exit(0));

for (let turn = 0; ; turn++) {
  const path = paths[turn % paths.length];
  const reply = await fetch(`http://edge:8080${path}`).catch((error) => ({ status: error.message }));
  console.log(reply.status, path);
  await reply.body?.cancel?.();
  await new Promise((resolve) => setTimeout(resolve, 500));
}
