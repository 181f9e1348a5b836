"""What GST9000 fire alarm panels send to their printer."""
