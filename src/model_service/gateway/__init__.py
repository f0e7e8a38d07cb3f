"""The gateway: any official client, any provider, one token.

It reads an immutable snapshot of what is registered, asks its ports (`ports`) for everything
else, and knows neither database nor vault.
"""
