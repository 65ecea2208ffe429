"""The running scheduler: slot loop, sensing by real samples, requests, HTTP."""
