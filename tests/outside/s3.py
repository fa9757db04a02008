#!/usr/bin/env python3
"""A bucket store on loopback that speaks as much of S3 as Litestream asks for, and keeps everything in memory.

It prints its port. Signatures are not checked; what is stored lives as long as the process.
"""
import http.server
import re
import sys
import threading
import urllib.parse
from email.utils import formatdate
from xml.sax.saxutils import escape

OBJECTS = {}  # (bucket, key) -> (bytes, metadata headers, time)
UPLOADS = {}  # upload id -> {part number: bytes}
LOCK = threading.Lock()


def dechunked(body):
    """The payload of a body in AWS's own chunks; trailers are left out."""
    payload, rest = b"", body
    while True:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if size == 0:
            return payload
        payload, rest = payload + rest[:size], rest[size + 2:]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def xml(self, text, status=200):
        self.answer(status, ('<?xml version="1.0"?>' + text).encode(), [("Content-Type", "application/xml")])

    def missing(self, code):
        self.xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", 404)

    def split(self):
        url = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(url.path).lstrip("/").partition("/")
        return bucket, key, dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))

    def body(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunked = "aws-chunked" in (self.headers.get("Content-Encoding") or "")
        chunked = chunked or (self.headers.get("X-Amz-Content-Sha256") or "").startswith("STREAMING")
        return dechunked(body) if chunked else body

    def do_PUT(self):
        bucket, key, query = self.split()
        body = self.body()
        if "uploadId" in query:
            UPLOADS[query["uploadId"]][int(query["partNumber"])] = body
        elif key:
            kept = [(n, v) for n, v in self.headers.items() if n.lower().startswith("x-amz-meta-")]
            with LOCK:
                OBJECTS[bucket, key] = (body, kept, formatdate(usegmt=True))
        self.answer(200, headers=[("ETag", '"0"')])

    def do_POST(self):
        bucket, key, query = self.split()
        body = self.body()
        if "delete" in query:
            keys = re.findall(r"<Key>(.*?)</Key>", body.decode())
            with LOCK:
                for gone in keys:
                    OBJECTS.pop((bucket, gone), None)
            self.xml("<DeleteResult>" + "".join(f"<Deleted><Key>{k}</Key></Deleted>" for k in keys) + "</DeleteResult>")
        elif "uploads" in query:
            upload = str(len(UPLOADS) + 1)
            UPLOADS[upload] = {}
            self.xml(f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key>"
                     f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>")
        else:
            parts = UPLOADS.pop(query["uploadId"])
            whole = b"".join(parts[n] for n in sorted(parts))
            with LOCK:
                OBJECTS[bucket, key] = (whole, [], formatdate(usegmt=True))
            self.xml(f"<CompleteMultipartUploadResult><Key>{escape(key)}</Key><ETag>0</ETag></CompleteMultipartUploadResult>")

    def do_GET(self):
        bucket, key, query = self.split()
        if not key:
            return self.listed(bucket, query)
        with LOCK:
            found = OBJECTS.get((bucket, key))
        if not found:
            return self.missing("NoSuchKey")
        body, kept, at = found
        headers = kept + [("Last-Modified", at), ("ETag", '"0"')]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not wanted:
            return self.answer(200, body, headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(body) - 1), len(body) - 1)
        headers.append(("Content-Range", f"bytes {first}-{last}/{len(body)}"))
        return self.answer(206, body[first:last + 1], headers)

    do_HEAD = do_GET

    def listed(self, bucket, query):
        prefix, after = query.get("prefix", ""), query.get("start-after", "")
        after = query.get("continuation-token", after)
        delimiter, most = query.get("delimiter", ""), int(query.get("max-keys", "1000"))
        with LOCK:
            keys = sorted(k for b, k in OBJECTS if b == bucket and k.startswith(prefix) and k > after)
            rows, common = [], set()
            for key in keys[:most]:
                if delimiter and delimiter in key[len(prefix):]:
                    common.add(prefix + key[len(prefix):].split(delimiter)[0] + delimiter)
                else:
                    rows.append(f"<Contents><Key>{escape(key)}</Key><Size>{len(OBJECTS[bucket, key][0])}</Size>"
                                "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>0</ETag></Contents>")
        more = f"<NextContinuationToken>{escape(keys[most - 1])}</NextContinuationToken>" if len(keys) > most else ""
        self.xml(f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
                 f"<KeyCount>{len(rows)}</KeyCount><MaxKeys>{most}</MaxKeys>"
                 f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{more}" + "".join(rows)
                 + "".join(f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>" for p in sorted(common))
                 + "</ListBucketResult>")

    def do_DELETE(self):
        bucket, key, query = self.split()
        with LOCK:
            OBJECTS.pop((bucket, key), None)
        UPLOADS.pop(query.get("uploadId", ""), None)
        self.answer(204)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
# Litestream is killed with its connections open.
server.handle_error = lambda *_: None
print(server.server_address[1], flush=True)
sys.exit(server.serve_forever())
