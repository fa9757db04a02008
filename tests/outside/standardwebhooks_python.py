"""The verifier of Standard Webhooks for Python, spoken to as standardwebhooks-node.mjs is."""

import json
import sys

from standardwebhooks import Webhook

for line in sys.stdin:
    question = json.loads(line)
    try:
        Webhook(question["secret"]).verify(bytes.fromhex(question["body"]).decode(), question["headers"])
        answer = {"accepted": True}
    except Exception as error:
        answer = {"accepted": False, "why": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
