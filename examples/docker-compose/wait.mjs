// Ends when a URL answers: what depends on a container without a health check of its own waits for this.
const url = process.argv[2];

for (let attempt = 0; attempt < 120; attempt++) {
  const reply = await fetch(url).catch(() => undefined);
  if (reply?.ok) process.exit(0);
  await new Promise((resolve) => setTimeout(resolve, 500));
}
console.error(`${url} does not answer`);
process.exit(1);
