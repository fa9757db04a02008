// What many shops run: Express, Stripe's official library and better-sqlite3. It verifies an event,
// stores it durably, and answers 200. Tuned as fulfilld is: WAL, FULL, prepared statements.
import Database from 'better-sqlite3';
import express from 'express';
import Stripe from 'stripe';

const db = new Database(process.env.PEER_DB);
db.pragma('journal_mode = WAL');
db.pragma('synchronous = FULL');
db.exec(`CREATE TABLE IF NOT EXISTS events(id TEXT PRIMARY KEY, type TEXT NOT NULL, created INTEGER,
  payload TEXT NOT NULL, received_at TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'pending') STRICT`);
const insert = db.prepare(
  'INSERT INTO events(id, type, created, payload, received_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
);

const stripe = new Stripe('sk_test_bench');
const secret = process.env.WEBHOOK_SECRET;
const app = express();
app.disable('x-powered-by');
app.disable('etag');

app.post('/webhook', express.raw({ type: () => true, limit: '1mb' }), (request, response) => {
  let event;
  try {
    event = stripe.webhooks.constructEvent(request.body, request.headers['stripe-signature'], secret);
  } catch (error) {
    return response.status(400).send(`Webhook Error: ${error.message}`);
  }
  insert.run(event.id, event.type, event.created, request.body.toString(), new Date().toISOString());
  response.json({ received: true });
});

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`express listens on http://127.0.0.1:${server.address().port}/webhook`);
});
process.on('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
  db.close();
  process.exit(0);
});
