from ..call import Credential


class Gate:
    def __init__(self, config, keys):
        pass

    def check_host(self, request):
        pass

    def admit(self, request):
        for n, v in request.headers:
            if n in ("authorization", "x-api-key"):
                return "local", Credential(n, v)
        return "local", None

    def viewer(self, request):
        return None

    @staticmethod
    def refuse_bind(config, keys):
        pass
