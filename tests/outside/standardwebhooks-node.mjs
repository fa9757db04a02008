// The verifier of Standard Webhooks for Node.js: {"headers":{…},"body":HEX,"secret":S} on a line of standard input,
// {"accepted":true} or {"accepted":false,"why":W} on a line of standard output.

import { createInterface } from 'node:readline';
import { Webhook } from 'standardwebhooks';

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body, secret } = JSON.parse(line);
  let answer;
  try {
    new Webhook(secret).verify(Buffer.from(body, 'hex').toString('utf8'), headers);
    answer = { accepted: true };
  } catch (error) {
    answer = { accepted: false, why: String(error.message) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
