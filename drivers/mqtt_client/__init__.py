"""MQTT 3.1.1 for drivers that listen to a broker: packets, and a session whose acknowledgements wait for the disk."""
