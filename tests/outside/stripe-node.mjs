// Stripe's official library for Node.js, spoken to in JSON lines: one question on standard input, one answer on standard output.
//
//   {"do":"sign","body":HEX,"secret":S,"timestamp":T}             -> {"header":H}
//   {"do":"verify","body":HEX,"header":H,"secret":S,"thin":BOOL}  -> {"accepted":true} or {"accepted":false,"why":W}
//   {"do":"purchase","api":URL,"session":ID}                      -> {"session":{…},"line_items":[…]}

import { createInterface } from 'node:readline';
import Stripe from 'stripe';

// A key of the right form that opens nothing.
const KEY = 'sk_test_outside';

const questions = {
  sign({ body, secret, timestamp }) {
    const payload = Buffer.from(body, 'hex').toString('utf8');
    return { header: Stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp }) };
  },

  // What a server written after Stripe's guide does with the raw body, which it has as bytes.
  verify({ body, header, secret, thin }) {
    const bytes = Buffer.from(body, 'hex');
    try {
      if (thin) {
        new Stripe(KEY).parseEventNotification(bytes, header, secret);
      } else {
        Stripe.webhooks.constructEvent(bytes, header, secret);
      }
      return { accepted: true };
    } catch (error) {
      return { accepted: false, why: String(error.message).split('\n')[0] };
    }
  },

  async purchase({ api, session }) {
    const { hostname, port } = new URL(api);
    const stripe = new Stripe(KEY, { host: hostname, port, protocol: 'http', telemetry: false, maxNetworkRetries: 0 });
    const line_items = [];
    for await (const item of stripe.checkout.sessions.listLineItems(session, { expand: ['data.price.product'] })) {
      line_items.push(item);
    }
    return { session: await stripe.checkout.sessions.retrieve(session), line_items };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  let answer;
  try {
    answer = await questions[question.do](question);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
