class KeyStore:
    def __init__(self, d):
        pass

    def close(self):
        pass

    def daily_limit(self, t):
        return None
