"""What is kept on disk and where: the database, the configuration file, the folders."""
