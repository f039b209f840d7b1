"""What the router of Label Studio is made of: labeling interfaces, pictures of tasks, clicks and regions."""
