"""Money. Knows plans and what they cost; nobody below it knows that they cost anything."""
