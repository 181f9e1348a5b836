from support.postgres import server as server
