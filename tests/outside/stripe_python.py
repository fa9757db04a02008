"""Stripe's official library for Python, spoken to in JSON lines; the questions and answers are those of stripe-node.mjs."""

import json
import sys

import stripe

# A key of the right form that opens nothing.
KEY = "sk_test_outside"


def sign(body, secret, timestamp):
    header = stripe.WebhookSignature.generate_signature_header(bytes.fromhex(body).decode(), secret, timestamp)
    return {"header": header}


def verify(body, header, secret, thin):
    """What a server written after Stripe's guide does with the raw body, which it has as bytes."""
    body = bytes.fromhex(body)
    try:
        if thin:
            stripe.StripeClient(KEY).parse_event_notification(body, header, secret)
        else:
            stripe.Webhook.construct_event(body, header, secret)
        return {"accepted": True}
    except Exception as error:
        return {"accepted": False, "why": f"{type(error).__name__}: {error}".splitlines()[0]}


def purchase(api, session):
    client = stripe.StripeClient(KEY, base_addresses={"api": api}, max_network_retries=0)
    items = client.v1.checkout.sessions.line_items.list(session, {"expand": ["data.price.product"]})
    return {
        "line_items": [item.to_dict() for item in items.auto_paging_iter()],
        "session": client.v1.checkout.sessions.retrieve(session).to_dict(),
    }


QUESTIONS = {"sign": sign, "verify": verify, "purchase": purchase}

for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = QUESTIONS[question.pop("do")](**question)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=str), flush=True)
